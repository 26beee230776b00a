-- The names of all tasks under a lease, and of some that wait.
return call('ZRANGE', LEASES, 0, -1)
