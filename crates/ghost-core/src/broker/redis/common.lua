-- What all scripts share: time, heads, places, and the index writes that a script gathers and flushes at its end.
--
-- Nothing here decides about a task. Rust computed the record, its place and what it counts (`lifecycle::step`); a script
-- compares, writes and indexes that. The layout is told in keys.rs, heads and places in form.rs: their parts have fixed
-- widths as far as possible, since a pattern over a head costs more than the write that follows it.

local call = redis.call
local byte, sub, find = string.byte, string.sub, string.find

-- Milliseconds by Redis's clock; tests may hold one that stands still.
local function time(held)
    if held ~= '' then return tonumber(held) end
    local t = call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function thirteen(time)
    return string.format('%013d', math.min(time, 9999999999999))
end

local NO_SETTLEMENT = '00000000000000'
local function fourteen(number)
    return string.format('%014d', number)
end

local function status_of(head) return sub(head, 1, 1) end
local function number_of(head) return sub(head, 2, 15) end
local function settlement_of(head) return sub(head, 16, 29) end
local function guard_of(head) return sub(head, 30, 76) end
-- Place, claim and trail.
local function rest_of(head)
    local first = find(head, '\n', 77, true)
    local second = find(head, '\n', first + 1, true)
    return sub(head, 77, first - 1), sub(head, first + 1, second - 1), sub(head, second + 1)
end

local QUEUED, LEASED, SETTLED_AT = byte('q'), byte('l'), byte('s')
local FROM_CLAIM = byte('+')

local function batch_of(member)
    if byte(member) ~= 47 then return sub(member, 1, find(member, '/', 1, true) - 1) end
end

-- Index writes, by key; a member that leaves and enters the same index in one script ends up inside.
local removes, adds, left, since, tallies, waiting = {}, {}, {}, {}, {}, 0

local function remove(key, member)
    local list = removes[key]
    if not list then list = {}; removes[key] = list end
    list[#list + 1] = member
end

local function add(key, score, member)
    local list = adds[key]
    if not list then list = {}; adds[key] = list end
    local n = #list
    list[n + 1], list[n + 2] = score, member
end

local function tally(member, status, n)
    local of = tallies[TALLY]
    if not of then of = {}; tallies[TALLY] = of end
    of[status] = (of[status] or 0) + n
    local batch = batch_of(member)
    if batch then
        local key = TALLY_OF .. batch
        of = tallies[key]
        if not of then of = {}; tallies[key] = of end
        of[status] = (of[status] or 0) + n
    end
end

-- The ring of a queue and the tenant in it: `<stage>:<class>:<capability>` and what follows.
local function ring_of(queue)
    return string.match(queue, '^([^:]*:[^:]*:[^:]*):(.*)$')
end

-- A queued place taken apart; tasks that come together mostly share one.
local parted = {}
local function parts_of(place)
    local parts = parted[place]
    if not parts then
        local queue = sub(place, 42)
        local ring, tenant = ring_of(queue)
        local not_before, queued_at = sub(place, 2, 14), sub(place, 15, 27)
        parts = { queue = queue, key = QUEUE .. queue, ring = RING .. ring, tenant = tenant, not_before = not_before,
            postponed = not_before ~= queued_at and queued_at,
            deadline = byte(place, 28) ~= FROM_CLAIM and sub(place, 29, 41) }
        parted[place] = parts
    end
    return parts
end

local function leave(member, number, place)
    local kind = byte(place)
    if kind == LEASED then
        remove(LEASES, member)
    elseif kind == QUEUED then
        local parts = parts_of(place)
        remove(parts.key, number .. member)
        if parts.postponed then remove(POSTPONED, member) end
        if parts.deadline then remove(LEASES, member) end
        left[parts.queue] = true
        waiting = waiting - 1
    elseif kind == SETTLED_AT then
        remove(SETTLED, member)
        local batch = batch_of(member)
        if batch then remove(SETTLED_OF .. batch, member) end
    end
end

local function enter(member, number, place, settlement)
    local kind = byte(place)
    if kind == LEASED then
        add(LEASES, sub(place, 2), member)
    elseif kind == QUEUED then
        local parts = parts_of(place)
        if not adds[parts.key] then add(parts.ring, 0, parts.tenant) end
        add(parts.key, parts.not_before, number .. member)
        local first = since[parts.queue]
        if not first or tonumber(parts.not_before) < tonumber(first) then since[parts.queue] = parts.not_before end
        if parts.postponed then add(POSTPONED, parts.postponed, member) end
        if parts.deadline then add(LEASES, parts.deadline, member) end
        waiting = waiting + 1
    elseif kind == SETTLED_AT then
        add(SETTLED, settlement, member)
        local batch = batch_of(member)
        if batch then add(SETTLED_OF .. batch, settlement, member) end
    end
end

-- The time of the first task of a queue; what OLDEST says may be that of one that was handed out meanwhile.
local function first_of(queue)
    local first = call('ZRANGE', QUEUE .. queue, 0, 0, 'WITHSCORES')[2]
    if first then call('ZADD', OLDEST, first, queue) end
    return first
end

local function flush()
    for key, list in pairs(removes) do call('ZREM', key, unpack(list)) end
    for key, list in pairs(adds) do call('ZADD', key, unpack(list)) end
    for queue, first in pairs(since) do call('ZADD', OLDEST, 'LT', first, queue) end
    for queue in pairs(left) do
        if call('EXISTS', QUEUE .. queue) == 0 then
            local ring, tenant = ring_of(queue)
            call('ZREM', RING .. ring, tenant)
            call('ZREM', OLDEST, queue)
        end
    end
    if waiting ~= 0 then call('HINCRBY', TOTALS, 'waiting', waiting) end
    for key, of in pairs(tallies) do
        for status, n in pairs(of) do
            if n ~= 0 then call('HINCRBY', key, status, n) end
        end
    end
    removes, adds, left, since, tallies, waiting = {}, {}, {}, {}, {}, 0
end

-- Adds lines of "name number" to the counters, as often as `times` says.
local function count(lines, times)
    for name, n in string.gmatch(lines, '([^ \n]+) (%-?%d+)') do
        call('HINCRBY', COUNTERS, name, times == 1 and n or string.format('%.0f', times * n))
    end
end

local function tell(news)
    if news ~= '' then call('PUBLISH', NEWS, news) end
end

-- Appends member, number, claim, record and request of each; of one that is not there, nothing but its name.
local function read(members, into)
    if #members == 0 then return into end
    local heads = call('HMGET', HEADS, unpack(members))
    local records = call('HMGET', RECORDS, unpack(members))
    local requests = call('HMGET', REQUESTS, unpack(members))
    for i, member in ipairs(members) do
        local at, head = #into, heads[i]
        into[at + 1] = member
        if head then
            local _, claim = rest_of(head)
            into[at + 2], into[at + 3], into[at + 4], into[at + 5] = number_of(head), claim, records[i], requests[i]
        else
            into[at + 2], into[at + 3], into[at + 4], into[at + 5] = false, false, false, false
        end
    end
    return into
end

-- Removes up to `limit` of the oldest settled tasks that were settled before `cutoff` or are among the `surplus`.
local function forget(limit, cutoff, surplus)
    local members = call('ZRANGE', SETTLED, 0, limit - 1)
    if #members == 0 then return 0 end
    local heads = call('HMGET', HEADS, unpack(members))
    local gone, batches = {}, {}
    for i, member in ipairs(members) do
        local head = heads[i]
        local status, place = status_of(head), rest_of(head)
        if not (i <= surplus or (cutoff and tonumber(sub(place, 2)) < cutoff)) then break end
        gone[i] = member
        leave(member, number_of(head), place)
        remove(ALL, member)
        if status == 'f' then remove(FAILED, member) end
        tally(member, status, -1)
        local batch = batch_of(member)
        if batch then
            remove(BATCH .. batch, member)
            batches[batch] = true
        end
    end
    if #gone == 0 then return 0 end
    flush()
    for _, texts in ipairs({ HEADS, RECORDS, REQUESTS }) do call('HDEL', texts, unpack(gone)) end
    for batch in pairs(batches) do
        if call('EXISTS', BATCH .. batch) == 0 then
            call('UNLINK', TALLY_OF .. batch)
            call('ZREM', BATCHES, batch)
        end
    end
    return #gone
end
