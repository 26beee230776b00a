-- Records whose lease or timeout has passed, or that wait for too long. ARGV: time held, longest wait, limit.
local now, limit = time(ARGV[1]), tonumber(ARGV[3])
local members, seen = {}, {}
local function take(found)
    for _, member in ipairs(found) do
        if not seen[member] and #members < limit then
            seen[member] = true
            members[#members + 1] = member
        end
    end
end
take(call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, limit))
local long_ago = now - ARGV[2]
take(call('ZRANGEBYSCORE', POSTPONED, '-inf', long_ago, 'LIMIT', 0, limit))
for _, queue in ipairs(call('ZRANGEBYSCORE', OLDEST, '-inf', long_ago, 'LIMIT', 0, limit)) do
    local found = call('ZRANGEBYSCORE', QUEUE .. queue, '-inf', long_ago, 'LIMIT', 0, limit)
    for i, queued in ipairs(found) do found[i] = sub(queued, 15) end
    take(found)
    first_of(queue)
end
return read(members, {})
