-- Removes up to `limit` of the oldest settled records. ARGV: time held, time to keep or none, how many to keep or none,
-- limit.
local now = time(ARGV[1])
local cutoff = ARGV[2] ~= '' and now - ARGV[2]
local surplus = ARGV[3] ~= '' and call('ZCARD', SETTLED) - ARGV[3] or 0
return forget(tonumber(ARGV[4]), cutoff, surplus)
