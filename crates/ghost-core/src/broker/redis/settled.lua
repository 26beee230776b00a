-- Settled records of a batch in their order, each after its number. ARGV: batch, the number to go on from, limit.
local found = call('ZRANGEBYSCORE', SETTLED_OF .. ARGV[1], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local members, page = {}, {}
for i = 1, #found, 2 do
    members[#members + 1] = found[i]
    page[#page + 1] = found[i + 1]
end
return read(members, page)
