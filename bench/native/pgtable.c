/*
 * The yardstick of `faultline bench pgtable`: the algorithm of src/pgtable in C11 on one thread, with what it stands on: frames with
 * reference counts, memcache, TLB invalidation. General where the library is general: any granule and depth, visitors by callback,
 * everything that belongs to the owner of a table through a table of functions.
 *
 * Reads requests `OPERATION PAGES` from standard input, performs each on every page, and answers with the nanoseconds of its timed
 * part on a line. What an operation needs before it is prepared outside, and afterwards the leaves are counted: an answer is one of
 * work that was done. Exit status 1 for a request or a result that is wrong.
 *
 * Atomics are sequentially consistent as those of the simulator's engines are: a ratio compares implementations, not memory models.
 */
#define _POSIX_C_SOURCE 200112L
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef uint64_t u64;
typedef _Atomic u64 word;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* Frames for tables: zeroed when taken, poisoned when the last reference is dropped. */

enum { PAGE_SHIFT = 12, PAGE_BYTES = 1 << PAGE_SHIFT, FRAMES = 1024, POISON = 0x6b };
static const u64 TABLE_RAM = 0x1000000000, GUEST_RAM = 0x80000000, SLOT = 0x40000000;

struct zone {
	_Atomic unsigned tickets, serving;
	unsigned used, free_head;
	struct {
		_Atomic int references;
		unsigned link;
	} meta[FRAMES];
	_Alignas(PAGE_BYTES) unsigned char contents[FRAMES][PAGE_BYTES];
};

static void zone_lock(struct zone *zone)
{
	unsigned ticket = atomic_fetch_add(&zone->tickets, 1);

	while (atomic_load(&zone->serving) != ticket)
		;
}

static void zone_unlock(struct zone *zone)
{
	atomic_store(&zone->serving, atomic_load(&zone->serving) + 1);
}

static unsigned zone_index(struct zone *zone, const word *at)
{
	return (unsigned)(((const unsigned char *)at - zone->contents[0]) >> PAGE_SHIFT);
}

static u64 zone_adopt(struct zone *zone, unsigned index)
{
	if (atomic_load(&zone->meta[index].references) != 0)
		fail("a free frame had references");
	atomic_store(&zone->meta[index].references, 1);
	memset(zone->contents[index], 0, PAGE_BYTES);
	return TABLE_RAM + (u64)index * PAGE_BYTES;
}

/* 0 when there are none left. */
static u64 zone_zalloc(struct zone *zone)
{
	unsigned index = FRAMES;

	zone_lock(zone);
	if (zone->free_head != 0) {
		index = zone->free_head - 1;
		zone->free_head = zone->meta[index].link;
	} else if (zone->used < FRAMES) {
		index = zone->used++;
	}
	zone_unlock(zone);
	return index == FRAMES ? 0 : zone_adopt(zone, index);
}

static void zone_put(struct zone *zone, unsigned index)
{
	int before = atomic_fetch_sub(&zone->meta[index].references, 1);

	if (before < 1)
		fail("a reference was dropped twice");
	if (before > 1)
		return;
	memset(zone->contents[index], POISON, PAGE_BYTES);
	zone_lock(zone);
	zone->meta[index].link = zone->free_head;
	zone->free_head = index + 1;
	zone_unlock(zone);
}

/* Where a map takes tables from: the zone itself, or a store that was filled before. */

enum { CACHE_PAGES = 40, CACHE_MIN = 2 };

struct cache {
	u64 (*alloc)(struct cache *cache);
	struct zone *zone;
	unsigned pages;
	u64 page[CACHE_PAGES];
};

static u64 alloc_from_zone(struct cache *cache)
{
	return zone_zalloc(cache->zone);
}

static u64 alloc_from_store(struct cache *cache)
{
	return cache->pages == 0 ? 0 : cache->page[--cache->pages];
}

static void cache_top_up(struct cache *cache)
{
	if (cache->pages >= CACHE_MIN)
		return;
	while (cache->pages < CACHE_PAGES) {
		u64 page = zone_zalloc(cache->zone);

		if (page == 0)
			return;
		cache->page[cache->pages++] = page;
	}
}

/* Broadcast invalidation: commands in a ring, and an answer of each CPU that the barrier waits for. */

enum { RING = 256, CPUS = 1, IN_HOST = 0, FLUSH_IPA = 1, FLUSH_VMID = 2, VMID = 1 };

struct interconnect {
	_Atomic unsigned claimed, posted, sleepers;
	word ring[RING];
	struct {
		_Alignas(128) _Atomic unsigned word;
	} answer[CPUS];
	unsigned issued;
	u64 by_ipa, by_vmid;
};

static void post_tlbi(struct interconnect *bus, unsigned kind, u64 ipa, int level)
{
	u64 head = (u64)kind << 26 | (u64)level << 24 | VMID << 8;
	unsigned sequence = atomic_fetch_add(&bus->claimed, 1);

	*(kind == FLUSH_IPA ? &bus->by_ipa : &bus->by_vmid) += 1;
	atomic_store(&bus->ring[sequence % RING], head << 32 | ipa >> PAGE_SHIFT);
	while (atomic_load(&bus->posted) != sequence)
		;
	bus->issued = sequence + 1;
	atomic_store(&bus->posted, bus->issued);
	if (atomic_load(&bus->sleepers) != 0)
		fail("somebody sleeps");
}

static void wait_for_cpus(struct interconnect *bus)
{
	for (int cpu = 0; cpu < CPUS; cpu++) {
		unsigned seen = atomic_load(&bus->answer[cpu].word);

		while (seen != IN_HOST && (int)((seen >> 1) - bus->issued) < 0)
			seen = atomic_load(&bus->answer[cpu].word);
	}
}

/* What a table needs of its owner. */

struct mmu {
	struct zone *zone;
	struct interconnect bus;
	u64 walks, cleaned;
};

struct mm_ops {
	word *(*table_at)(struct mmu *mmu, u64 address);
	void (*get_page)(struct mmu *mmu, word *at);
	void (*put_page)(struct mmu *mmu, word *at);
	int (*page_count)(struct mmu *mmu, word *at);
	void (*flush_ipa)(struct mmu *mmu, u64 ipa, int level);
	void (*flush_vmid)(struct mmu *mmu);
	void (*publish)(struct mmu *mmu);
	void (*clean)(struct mmu *mmu, u64 address, u64 bytes);
	void (*walk_begin)(struct mmu *mmu);
	void (*walk_end)(struct mmu *mmu);
};

static word *mmu_table_at(struct mmu *mmu, u64 address)
{
	return (word *)(mmu->zone->contents[0] + (address - TABLE_RAM));
}

static void mmu_get_page(struct mmu *mmu, word *at)
{
	if (atomic_fetch_add(&mmu->zone->meta[zone_index(mmu->zone, at)].references, 1) < 1)
		fail("a reference was taken on a free frame");
}

static void mmu_put_page(struct mmu *mmu, word *at)
{
	zone_put(mmu->zone, zone_index(mmu->zone, at));
}

static int mmu_page_count(struct mmu *mmu, word *at)
{
	return atomic_load(&mmu->zone->meta[zone_index(mmu->zone, at)].references);
}

static void mmu_flush_ipa(struct mmu *mmu, u64 ipa, int level)
{
	post_tlbi(&mmu->bus, FLUSH_IPA, ipa, level);
	wait_for_cpus(&mmu->bus);
}

static void mmu_flush_vmid(struct mmu *mmu)
{
	post_tlbi(&mmu->bus, FLUSH_VMID, 0, 0);
	wait_for_cpus(&mmu->bus);
}

/* The order of all atomics already says it. */
static void mmu_publish(struct mmu *mmu)
{
	(void)mmu;
}

/* Memory has no caches here; the total stands for the event of the simulator. */
static void mmu_clean(struct mmu *mmu, u64 address, u64 bytes)
{
	(void)address;
	mmu->cleaned += bytes;
}

static void mmu_walk_begin(struct mmu *mmu)
{
	mmu->walks++;
}

static void mmu_walk_end(struct mmu *mmu)
{
	(void)mmu;
}

static const struct mm_ops MMU_OPS = {
	mmu_table_at, mmu_get_page, mmu_put_page, mmu_page_count, mmu_flush_ipa,
	mmu_flush_vmid, mmu_publish, mmu_clean, mmu_walk_begin, mmu_walk_end,
};

/* Descriptors, 48-bit output addresses. */

enum { LAST_LEVEL = 3 };
static const u64 VALID = 1, TYPE = 2, ADDRESS = 0xfffffffff000;
static const u64 S2AP_R = 0x40, S2AP_W = 0x80, SH_IS = 0x300, AF = 0x400, XN = 1ull << 54;
static const u64 MEMATTR = 0xf << 2, ATTRIBUTES = 0xffful << 52 | 1ul << 51 | 0xffc;

static bool is_table(u64 entry, int level)
{
	return level < LAST_LEVEL && (entry & (VALID | TYPE)) == (VALID | TYPE);
}

/* A table and the walk over it. */

struct table {
	const struct mm_ops *ops;
	struct mmu *mmu;
	unsigned entries, shift[LAST_LEVEL + 1];
	int start_level, block_level_min;
	u64 limit, root;
};

enum outcome { OK, NO_MEMORY, OUT_OF_RANGE };
enum reason { LEAF = 1, TABLE_PRE = 2, TABLE_POST = 4 };

struct visit {
	word *entry;
	u64 old, addr;
	int level;
	const struct walk *walk;
};

/* First member of whatever a visitor keeps. */
struct visitor {
	unsigned flags;
	enum outcome (*visit)(struct visitor *self, const struct visit *visit, enum reason reason);
};

struct walk {
	const struct table *table;
	struct visitor *visitor;
	u64 start, end, cursor;
};

static u64 size_of(const struct table *table, int level)
{
	return 1ull << table->shift[level];
}

static u64 align_down(const struct table *table, u64 address, int level)
{
	return address & ~(size_of(table, level) - 1);
}

static enum outcome walk_table(struct walk *walk, word *entries, int level);

static enum outcome visit_entry(struct walk *walk, word *entry, int level)
{
	const struct table *table = walk->table;
	struct visitor *visitor = walk->visitor;
	struct visit visit = { entry, atomic_load(entry), walk->cursor, level, walk };
	enum outcome outcome = OK;

	if (is_table(visit.old, level)) {
		if (visitor->flags & TABLE_PRE)
			outcome = visitor->visit(visitor, &visit, TABLE_PRE);
	} else if (visitor->flags & LEAF) {
		outcome = visitor->visit(visitor, &visit, LEAF);
		if (level != LAST_LEVEL)
			visit.old = atomic_load(entry);
	}
	if (outcome != OK)
		return outcome;
	if (!is_table(visit.old, level)) {
		walk->cursor = align_down(table, visit.addr, level) + size_of(table, level);
		return OK;
	}
	outcome = walk_table(walk, table->ops->table_at(table->mmu, visit.old & ADDRESS), level + 1);
	if (outcome != OK || !(visitor->flags & TABLE_POST))
		return outcome;
	return visitor->visit(visitor, &visit, TABLE_POST);
}

static enum outcome walk_table(struct walk *walk, word *entries, int level)
{
	const struct table *table = walk->table;
	u64 index = walk->cursor >> table->shift[level] & (table->entries - 1);

	for (; index < table->entries && walk->cursor < walk->end; index++) {
		enum outcome outcome = visit_entry(walk, entries + index, level);

		if (outcome != OK)
			return outcome;
	}
	return OK;
}

static enum outcome walk_root(struct walk *walk)
{
	const struct table *table = walk->table;
	word *root = table->ops->table_at(table->mmu, table->root);

	while (walk->cursor < walk->end) {
		u64 page = (walk->cursor >> table->shift[table->start_level]) / table->entries;
		enum outcome outcome = walk_table(walk, root + page * table->entries, table->start_level);

		if (outcome != OK)
			return outcome;
	}
	return OK;
}

static enum outcome walk_range(const struct table *table, u64 addr, u64 size, struct visitor *visitor)
{
	u64 start = align_down(table, addr, LAST_LEVEL);
	u64 end = align_down(table, start + size + size_of(table, LAST_LEVEL) - 1, LAST_LEVEL);
	struct walk walk = { table, visitor, start, end, start };
	enum outcome outcome;

	if (start > table->limit || end > table->limit)
		return OUT_OF_RANGE;
	table->ops->walk_begin(table->mmu);
	outcome = walk_root(&walk);
	table->ops->walk_end(table->mmu);
	return outcome;
}

/* Changes of an entry: a valid one becomes another valid one only through an invalid one and a complete invalidation. */

static void clear_entry(const struct visit *visit)
{
	atomic_store(visit->entry, visit->old & ~VALID);
}

static void break_entry(const struct table *table, const struct visit *visit, int hint)
{
	clear_entry(visit);
	table->ops->flush_ipa(table->mmu, visit->addr, hint);
}

/* Stores a new value, and takes the reference of the entry where there was none. */
static void replace_entry(const struct table *table, const struct visit *visit, u64 value)
{
	if (visit->old & VALID) {
		break_entry(table, visit, visit->level);
		atomic_store(visit->entry, value);
		return;
	}
	atomic_store(visit->entry, value);
	table->ops->get_page(table->mmu, visit->entry);
}

/* Map: the largest leaves that fit; blocks in the way are dissolved, tables in the way collapsed. */

struct map {
	struct visitor visitor;
	const struct table *table;
	struct cache *cache;
	u64 phys, attributes;
	word *anchor;
};

static bool leaf_fits(const struct map *map, const struct visit *visit)
{
	u64 size = size_of(map->table, visit->level);

	if (visit->level == LAST_LEVEL)
		return true;
	return visit->level >= map->table->block_level_min && size <= visit->walk->end - visit->addr &&
	       ((visit->addr | map->phys) & (size - 1)) == 0;
}

static void map_leaf(struct map *map, const struct visit *visit)
{
	u64 type = visit->level == LAST_LEVEL ? TYPE : 0;
	u64 leaf = map->phys | map->attributes | type | VALID;

	map->phys += size_of(map->table, visit->level);
	if (visit->old != leaf)
		replace_entry(map->table, visit, leaf);
}

static enum outcome map_entry(struct map *map, const struct visit *visit)
{
	const struct table *table = map->table;
	u64 child;

	if (map->anchor != NULL) {
		if (visit->old & VALID)
			table->ops->put_page(table->mmu, visit->entry);
		return OK;
	}
	if (leaf_fits(map, visit)) {
		map_leaf(map, visit);
		return OK;
	}
	child = map->cache->alloc(map->cache);
	if (child == 0)
		return NO_MEMORY;
	replace_entry(table, visit, child | TYPE | VALID);
	return OK;
}

static void detach_table(struct map *map, const struct visit *visit)
{
	if (map->anchor != NULL || !leaf_fits(map, visit))
		return;
	clear_entry(visit);
	map->table->ops->flush_vmid(map->table->mmu);
	map->anchor = visit->entry;
}

static void free_detached(struct map *map, const struct visit *visit)
{
	const struct table *table = map->table;
	struct visit now = *visit;

	now.old = atomic_load(visit->entry);
	table->ops->put_page(table->mmu, table->ops->table_at(table->mmu, now.old & ADDRESS));
	table->ops->put_page(table->mmu, visit->entry);
	if (map->anchor != visit->entry)
		return;
	map->anchor = NULL;
	map_leaf(map, &now);
}

static enum outcome visit_map(struct visitor *self, const struct visit *visit, enum reason reason)
{
	struct map *map = (struct map *)self;

	if (reason == LEAF)
		return map_entry(map, visit);
	if (reason == TABLE_PRE)
		detach_table(map, visit);
	else if (map->anchor != NULL)
		free_detached(map, visit);
	return OK;
}

static enum outcome map_range(const struct table *table, u64 ipa, u64 size, u64 phys, struct cache *cache)
{
	struct map map = {
		{ LEAF | TABLE_PRE | TABLE_POST, visit_map }, table, cache, align_down(table, phys, LAST_LEVEL),
		MEMATTR | S2AP_R | S2AP_W | SH_IS | AF | XN, NULL,
	};
	enum outcome outcome = walk_range(table, ipa, size, &map.visitor);

	table->ops->publish(table->mmu);
	return outcome;
}

/* Unmap: leaves, then tables that have become empty. */

struct unmap {
	struct visitor visitor;
	const struct table *table;
};

static enum outcome visit_unmap(struct visitor *self, const struct visit *visit, enum reason reason)
{
	const struct table *table = ((struct unmap *)self)->table;
	u64 address = visit->old & ADDRESS;

	if (!(visit->old & VALID))
		return OK;
	if (reason == TABLE_POST) {
		word *child = table->ops->table_at(table->mmu, address);

		if (table->ops->page_count(table->mmu, child) != 1)
			return OK;
		break_entry(table, visit, 0);
		table->ops->put_page(table->mmu, visit->entry);
		table->ops->put_page(table->mmu, child);
		return OK;
	}
	break_entry(table, visit, visit->level);
	table->ops->put_page(table->mmu, visit->entry);
	if ((visit->old & MEMATTR) == MEMATTR)
		table->ops->clean(table->mmu, address, size_of(table, visit->level));
	return OK;
}

static enum outcome unmap_range(const struct table *table, u64 ipa, u64 size)
{
	struct unmap unmap = { { LEAF | TABLE_POST, visit_unmap }, table };

	return walk_range(table, ipa, size, &unmap.visitor);
}

/* Attributes of valid leaves, stored where they change. */

struct update {
	struct visitor visitor;
	u64 set, clear, old;
	int level;
};

static enum outcome visit_update(struct visitor *self, const struct visit *visit, enum reason reason)
{
	struct update *update = (struct update *)self;
	u64 value = (visit->old & ~update->clear) | update->set;

	(void)reason;
	if (!(visit->old & VALID))
		return OK;
	update->old = visit->old;
	update->level = visit->level;
	if (value != visit->old)
		atomic_store(visit->entry, value);
	return OK;
}

static struct update update_range(const struct table *table, u64 ipa, u64 size, u64 set, u64 clear)
{
	struct update update = { { LEAF, visit_update }, set & ATTRIBUTES, clear & ATTRIBUTES, 0, 0 };

	if (walk_range(table, ipa, size, &update.visitor) != OK)
		fail("an update left the range");
	return update;
}

static void relax(const struct table *table, u64 ipa)
{
	struct update update = update_range(table, ipa, 1, S2AP_R | S2AP_W, 0);

	table->ops->flush_ipa(table->mmu, ipa, update.level);
}

static u64 make_young(const struct table *table, u64 ipa)
{
	struct update update = update_range(table, ipa, 1, AF, 0);

	table->ops->publish(table->mmu);
	return update.old;
}

static u64 make_old(const struct table *table, u64 ipa)
{
	return update_range(table, ipa, 1, 0, AF).old;
}

/* What is left: leaves, and how many of them are writable and young. */

struct census {
	struct visitor visitor;
	u64 leaves, writable, young;
};

static enum outcome visit_census(struct visitor *self, const struct visit *visit, enum reason reason)
{
	struct census *census = (struct census *)self;
	bool counts = reason == LEAF && (visit->old & VALID);

	census->leaves += counts;
	census->writable += counts && (visit->old & S2AP_W);
	census->young += counts && (visit->old & AF);
	return OK;
}

/* Operations, one batch each. */

enum { PAGES_MAX = 1 << 18 };

struct bench {
	struct table *table;
	struct cache from_zone, from_store;
	uint32_t pages, order[PAGES_MAX];
};

static u64 bytes_of(const struct bench *bench)
{
	return (u64)bench->pages * PAGE_BYTES;
}

/* Off by a page from what a block could map: every leaf is a page. */
static u64 phys_of(uint32_t page)
{
	return GUEST_RAM + PAGE_BYTES + (u64)page * PAGE_BYTES;
}

static u64 ipa_of(uint32_t page)
{
	return SLOT + (u64)page * PAGE_BYTES;
}

static void must(enum outcome outcome)
{
	if (outcome != OK)
		fail("an operation failed");
}

static void map_all(struct bench *bench)
{
	must(map_range(bench->table, SLOT, bytes_of(bench), phys_of(0), &bench->from_zone));
}

static void map_pages(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->pages; i++) {
		uint32_t page = bench->order[i];

		cache_top_up(&bench->from_store);
		must(map_range(bench->table, ipa_of(page), PAGE_BYTES, phys_of(page), &bench->from_store));
	}
}

static void relax_pages(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->pages; i++)
		relax(bench->table, ipa_of(i));
}

static void make_pages_young(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->pages; i++)
		if (make_young(bench->table, ipa_of(i)) & AF)
			fail("a leaf was young");
}

static void age(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->pages; i++)
		if (!(make_old(bench->table, ipa_of(i)) & AF))
			fail("a leaf was old");
}

static void wrprotect(struct bench *bench)
{
	update_range(bench->table, SLOT, bytes_of(bench), 0, S2AP_W);
}

static void unmap_all(struct bench *bench)
{
	must(unmap_range(bench->table, SLOT, bytes_of(bench)));
}

/* All but the last page of each table: the tables stay. */
static void clear_leaves(struct bench *bench)
{
	u64 reach = size_of(bench->table, LAST_LEVEL - 1);

	for (u64 at = SLOT; at < SLOT + bytes_of(bench); at += reach)
		must(unmap_range(bench->table, at, reach - PAGE_BYTES));
}

static void order_pages(struct bench *bench)
{
	for (uint32_t i = 0; i < bench->pages; i++)
		bench->order[i] = i;
}

/* Splitmix32, seed 1, as the simulator's own `choose`: the order of pages is the same. */
static uint32_t choose(uint32_t *state, uint32_t n)
{
	uint32_t z = *state += 0x9e3779b9;

	z = (z ^ z >> 16) * 0x21f0aaad;
	z = (z ^ z >> 15) * 0x735a2d97;
	return (z ^ z >> 15) % n;
}

static void shuffle_pages(struct bench *bench)
{
	uint32_t state = 1;

	for (uint32_t i = bench->pages - 1; i > 0; i--) {
		uint32_t j = choose(&state, i + 1), page = bench->order[i];

		bench->order[i] = bench->order[j];
		bench->order[j] = page;
	}
}

/* Leaves of the slot that are left, and their bits: all or none. */
struct operation {
	const char *name;
	void (*prepare[3])(struct bench *bench);
	void (*perform)(struct bench *bench);
	bool mapped, writable, young;
};

static const struct operation OPERATIONS[] = {
	{ "map", { map_all, clear_leaves, NULL }, map_pages, true, true, true },
	{ "mapRandom", { map_all, clear_leaves, shuffle_pages }, map_pages, true, true, true },
	{ "relax", { map_all, wrprotect, NULL }, relax_pages, true, true, true },
	{ "mkyoung", { map_all, age, NULL }, make_pages_young, true, true, true },
	{ "mapRange", { NULL, NULL, NULL }, map_all, true, true, true },
	{ "wrprotect", { map_all, NULL, NULL }, wrprotect, true, false, true },
	{ "unmap", { map_all, NULL, NULL }, unmap_all, false, false, false },
	{ "age", { map_all, NULL, NULL }, age, true, true, false },
};

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(struct bench *bench, const struct operation *operation)
{
	struct census census = { { LEAF, visit_census }, 0, 0, 0 };
	word *root = bench->table->ops->table_at(bench->table->mmu, bench->table->root);
	u64 pages = bench->pages;

	must(walk_range(bench->table, SLOT, bytes_of(bench), &census.visitor));
	if (census.leaves != (operation->mapped ? pages : 0) || census.writable != (operation->writable ? pages : 0) ||
	    census.young != (operation->young ? pages : 0))
		fail("the leaves are not what the operation leaves");
	if (!operation->mapped && bench->table->ops->page_count(bench->table->mmu, root) != 1)
		fail("a table is left");
}

static double batch_ns(struct bench *bench, const struct operation *operation)
{
	double since, taken;

	/* Also what a larger batch left. */
	must(unmap_range(bench->table, SLOT, (u64)PAGES_MAX * PAGE_BYTES));
	order_pages(bench);
	for (int i = 0; i < 3 && operation->prepare[i] != NULL; i++)
		operation->prepare[i](bench);
	since = now_ns();
	operation->perform(bench);
	taken = now_ns() - since;
	check(bench, operation);
	return taken;
}

/* The shape of a stage-2 table with 4K pages and 40 bits of input: two root pages at level 1. */
static struct table *create_table(struct mmu *mmu)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		fail("no memory");
	table->ops = &MMU_OPS;
	table->mmu = mmu;
	table->entries = PAGE_BYTES / sizeof(word);
	for (int level = 0; level <= LAST_LEVEL; level++)
		table->shift[level] = (unsigned)(4 - level) * (PAGE_SHIFT - 3) + 3;
	table->start_level = 1;
	table->block_level_min = 1;
	table->limit = 1ull << 40;
	table->root = zone_zalloc(mmu->zone);
	zone_zalloc(mmu->zone);
	return table;
}

int main(void)
{
	static struct zone zone;
	static struct mmu mmu = { .zone = &zone };
	static struct bench bench = { .from_zone = { alloc_from_zone, &zone, 0, { 0 } },
				      .from_store = { alloc_from_store, &zone, 0, { 0 } } };
	char name[16];

	bench.table = create_table(&mmu);
	while (scanf("%15s %" SCNu32, name, &bench.pages) == 2) {
		const struct operation *operation = OPERATIONS, *end = operation + sizeof(OPERATIONS) / sizeof(*operation);

		while (operation < end && strcmp(operation->name, name) != 0)
			operation++;
		if (operation == end || bench.pages < 1 || bench.pages > PAGES_MAX)
			fail("no such operation or size");
		printf("%.0f\n", batch_ns(&bench, operation));
		fflush(stdout);
	}
	return 0;
}
