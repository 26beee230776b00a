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
take(call('ZRANGEBYSCORE', WAITING, '-inf', now - ARGV[2], 'LIMIT', 0, limit))
return read(members, {})
