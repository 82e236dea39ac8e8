/** Keeps a map or set within its limit: what was added first goes first, one at each addition. */
export const dropOldest = <K>(
  collection: { readonly size: number; readonly keys: () => Iterable<K>; readonly delete: (key: K) => boolean },
  limit: number
): void => {
  if (collection.size <= limit) return
  for (const oldest of collection.keys()) {
    collection.delete(oldest)
    return
  }
}
