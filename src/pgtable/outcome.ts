/**
 * What an operation on a table legitimately returns. `again`: lost a race (-EAGAIN); `noMemory`: the cache or allocator ran
 * dry (-ENOMEM); `outOfRange`: beyond the input address space (-ERANGE); `invalid`: no table, or a request the format cannot
 * express (-EINVAL); `fault`: something is mapped where nothing may be (-EFAULT, of `legacy` only).
 */
export type Outcome = 'ok' | 'again' | 'noMemory' | 'outOfRange' | 'invalid' | 'fault';
