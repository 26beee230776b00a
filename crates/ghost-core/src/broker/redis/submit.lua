-- Accepts new tasks, all or none, and gives back those that it knew.
-- ARGV: time held, backlog limit, time to keep settled ones, counts of one, news before the names, news after them,
-- then of each task: member, status, guard and place, mark, record, request.

local now, limit = time(ARGV[1]), tonumber(ARGV[2])
local FIRST, FIELDS = 7, 5
local members = {}
for at = FIRST, #ARGV, FIELDS do members[#members + 1] = ARGV[at] end

local heads = call('HMGET', HEADS, unpack(members))
local fresh, seen, known, answer = {}, {}, {}, {}
for i, member in ipairs(members) do
    if heads[i] or seen[member] then
        known[#known + 1] = member
        answer[i] = 'known'
    else
        seen[member] = true
        fresh[#fresh + 1] = FIRST + (i - 1) * FIELDS
        answer[i] = 'new'
    end
end

if #fresh > 0 then
    local backlog = tonumber(call('HGET', TOTALS, 'waiting') or 0)
    if backlog + #fresh > limit then return { 'full', backlog } end
    -- The first write asks for memory: where there is none, Redis refuses here, before anything is written.
    local last = call('HINCRBY', TOTALS, 'submitted', #fresh) - #fresh
    local new_heads, records, requests, news = {}, {}, {}, { ARGV[5] }
    for i, at in ipairs(fresh) do
        local member, head = ARGV[at], ARGV[at + 1]
        local number = fourteen(last + i)
        local status, place = sub(head, 1, 1), sub(head, 49)
        local to = 2 * i
        new_heads[to - 1] = member
        new_heads[to] = status .. number .. NO_SETTLEMENT .. sub(head, 2) .. '\n\n' .. ARGV[at + 2]
        records[to - 1], records[to] = member, ARGV[at + 3]
        requests[to - 1], requests[to] = member, ARGV[at + 4]
        enter(member, number, place, NO_SETTLEMENT)
        add(ALL, number, member)
        local batch = batch_of(member)
        if batch then
            add(BATCH .. batch, number, member)
            add(BATCHES, 0, batch)
        end
        tally(member, status, 1)
        news[i + 1] = member
    end
    call('HSET', HEADS, unpack(new_heads))
    call('HSET', RECORDS, unpack(records))
    call('HSET', REQUESTS, unpack(requests))
    flush()
    count(ARGV[4], #fresh)
    news[#news + 1] = ARGV[6]
    tell(table.concat(news, '\n'))
    -- Whoever brings a task makes room for it twice over, so that the store cannot fill up with what is over.
    forget(2 * #fresh, now - ARGV[3], 0)
end
return read(known, answer)
