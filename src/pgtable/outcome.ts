/**
 * What an operation on a table legitimately returns. `again`: lost a race (-EAGAIN); `noMemory`: the cache or allocator ran
 * dry (-ENOMEM); `outOfRange`: beyond the input address space (-ERANGE); `invalid`: no table, or a request the format cannot
 * express (-EINVAL); `fault`: something is mapped where nothing may be (-EFAULT, of `legacy` only); `notPermitted`: a
 * shared walk where the owner of the table has no read section (-EPERM).
 */
export type Outcome =
  | 'ok'
  | 'again'
  | 'noMemory'
  | 'outOfRange'
  | 'invalid'
  | 'fault'
  | 'notPermitted';
