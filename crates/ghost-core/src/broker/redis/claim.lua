-- Hands tasks out: classes from the highest down, the tenants of a class round and round, every eighth task looked for
-- from the lowest class up. What it writes of a task is the event, not the state: who claimed it when, under which
-- token. Whoever reads the record applies `lifecycle::step` to that.
-- ARGV: time held, stage, limit, lease, status afterwards, lines of news before the names or none, holder, tokens, then the
-- capabilities. Returns the time, then member, record and request of each: the n-th has the n-th token.

local now, stage, limit = time(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local new_status = ARGV[5]
local TOKEN = 36
local LOWEST_EVERY = 8
-- Tenants that are read at once; of more, one at a time.
local SMALL_RING = 256

local turns = call('HMGET', TURNS, stage, stage .. ':0', stage .. ':1', stage .. ':2')
local given = tonumber(turns[1] or 0)

-- Bytes, whatever Redis's locale says of letters.
local function less(a, b)
    if a == b then return false end
    for i = 1, math.min(#a, #b) do
        local x, y = byte(a, i), byte(b, i)
        if x ~= y then return x < y end
    end
    return #a < #b
end

local function ring(class, capability)
    local name = stage .. ':' .. class .. ':' .. capability
    local size = call('ZCARD', RING .. name)
    return { key = RING .. name, name = name, size = size, at = 1, queues = {},
        all = size <= SMALL_RING and call('ZRANGE', RING .. name, 0, -1) }
end

-- The first tenant of a ring after this one.
local function tenant_after(ring, tenant)
    local all = ring.all
    if not all then return call('ZRANGEBYLEX', ring.key, '(' .. tenant, '+', 'LIMIT', 0, 1)[1] end
    local at = ring.at
    if at > 1 and not less(all[at - 1], tenant) and all[at - 1] ~= tenant then at = 1 end
    while all[at] and not less(tenant, all[at]) do at = at + 1 end
    ring.at = at
    return all[at]
end

-- The queue of a tenant with its next ready task in front, or nothing.
local function queue_of(ring, tenant, picked)
    local queue = ring.queues[tenant]
    if not queue then
        queue = { name = ring.name .. ':' .. tenant, tenant = tenant, at = 0, n = 0, offset = 0, more = true }
        ring.queues[tenant] = queue
    end
    while true do
        if queue.at > 0 and queue.at <= queue.n then
            if queue.fit then return queue end
            -- What is past its deadline is left to whoever takes up what is overdue.
            local head = queue.heads[queue.at]
            if head then
                queue.ends = tonumber(sub(head, 105, 117))
                if byte(head, 104) == FROM_CLAIM then queue.ends = queue.ends + now end
                queue.fit = queue.ends > now
            end
            if not queue.fit then queue.at = queue.at + 1 end
        elseif queue.more then
            local chunk = math.max(4, math.ceil((limit - picked) / math.max(1, ring.size)))
            local found = call('ZRANGEBYSCORE', QUEUE .. queue.name, '-inf', now, 'WITHSCORES', 'LIMIT', queue.offset, chunk)
            local n, members = #found / 2, {}
            for i = 1, n do members[i] = sub(found[2 * i - 1], 15) end
            queue.offset, queue.more, queue.at, queue.n = queue.offset + n, n == chunk, 1, n
            queue.found, queue.members = found, members
            queue.heads = n > 0 and call('HMGET', HEADS, unpack(members))
        else
            return nil
        end
    end
end

-- Whether the front task of one queue goes before that of another.
local function sooner(one, other)
    local a, b = tonumber(one.found[2 * one.at]), tonumber(other.found[2 * other.at])
    if a ~= b then return a < b end
    return tonumber(sub(one.found[2 * one.at - 1], 1, 14)) < tonumber(sub(other.found[2 * other.at - 1], 1, 14))
end

-- The queue that has the next turn in a class: of the tenants after the latest one, then from the first on.
local latest, rings, exhausted = { turns[2] or '', turns[3] or '', turns[4] or '' }, {}, {}
local function next_of_class(class, picked)
    if not rings[class] then
        rings[class] = {}
        for at = 9, #ARGV do
            local of = ring(class, ARGV[at])
            if of.size > 0 then rings[class][#rings[class] + 1] = of end
        end
    end
    local from, wrapped = latest[class + 1], false
    local tenant = from
    while true do
        local first
        for _, ring in ipairs(rings[class]) do
            local after = tenant_after(ring, tenant)
            if after and (not first or less(after, first)) then first = after end
        end
        if first and not (wrapped and less(from, first)) then
            local best
            for _, ring in ipairs(rings[class]) do
                local queue = queue_of(ring, first, picked)
                if queue and (not best or sooner(queue, best)) then best = queue end
            end
            if best then return best end
            tenant = first
        elseif wrapped then
            return nil
        else
            wrapped, tenant = true, ''
        end
    end
end

local function next_in_turn(picked)
    local lowest_first = given % LOWEST_EVERY == LOWEST_EVERY - 1
    for i = 0, 2 do
        local class = lowest_first and i or 2 - i
        if not exhausted[class] then
            local queue = next_of_class(class, picked)
            if queue then
                given = given + 1
                latest[class + 1] = queue.tenant
                return queue
            end
            exhausted[class] = true
        end
    end
end

local members, heads, leases, moved = {}, {}, {}, 0
local lease_end = now + ARGV[4]
local leased = 'l' .. thirteen(lease_end) .. '\n'
local claim = ' ' .. now .. ' ' .. ARGV[4] .. ' ' .. new_status .. ' ' .. ARGV[7]
while #members < limit do
    local queue = next_in_turn(#members)
    if not queue then break end
    local i, at = #members + 1, queue.at
    local member, head = queue.members[at], queue.heads[at]
    local token = sub(ARGV[8], (i - 1) * TOKEN + 1, i * TOKEN)
    local place = leased
    local ends = lease_end
    if queue.ends < ends then
        ends = queue.ends
        place = 'l' .. thirteen(ends) .. '\n'
    end
    local version = string.format('%010d', sub(head, 30, 39) + 1)
    -- The end of the claim's line; before it stand the place's line break and nothing, as nothing claimed it before.
    local trail = find(head, '\n\n', 118, true) + 1
    members[i] = member
    heads[2 * i - 1] = member
    heads[2 * i] = new_status .. sub(head, 2, 29) .. version .. ' ' .. token .. place .. token .. claim .. sub(head, trail)
    leases[2 * i - 1], leases[2 * i] = ends, member
    remove(QUEUE .. queue.name, queue.found[2 * at - 1])
    left[queue.name] = true
    if sub(head, 78, 90) ~= sub(head, 91, 103) then remove(POSTPONED, member) end
    local status = status_of(head)
    if status ~= new_status then
        if byte(member) == 47 then
            moved = moved + 1
        else
            tally(member, status, -1)
            tally(member, new_status, 1)
        end
    end
    queue.at, queue.fit = at + 1, false
end
if #members == 0 then return { now } end
call('HSET', HEADS, unpack(heads))
waiting = -#members
call('ZADD', LEASES, unpack(leases))
if moved > 0 then
    call('HINCRBY', TALLY, 'p', -moved)
    call('HINCRBY', TALLY, new_status, moved)
end
flush()
call('HSET', TURNS, stage, given, stage .. ':0', latest[1], stage .. ':1', latest[2], stage .. ':2', latest[3])
if ARGV[6] ~= '' then
    local names = '\n' .. table.concat(members, '\n')
    tell(string.gsub(ARGV[6], '[^\n]+', function (line) return line .. names end))
end
local records, requests = call('HMGET', RECORDS, unpack(members)), call('HMGET', REQUESTS, unpack(members))
local answer = { now }
for i, member in ipairs(members) do
    local to = 3 * i
    answer[to - 1], answer[to], answer[to + 1] = member, records[i], requests[i]
end
return answer
