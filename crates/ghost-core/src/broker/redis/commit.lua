-- Writes what `lifecycle::step` returned: where version and token are those of the head, the record with its place, counts
-- and news. All items that can be written are, or none: beside one that cannot, they are to come again, so that counts
-- and news are those of everything written. No item may name the task of another.
-- ARGV: the counts and the news of all items, then of each: member, guard, the new status, guard and place, mark, record.

local FIRST, FIELDS = 3, 5
local members = {}
for at = FIRST, #ARGV, FIELDS do members[#members + 1] = ARGV[at] end
local heads = call('HMGET', HEADS, unpack(members))
local outcomes, fit = {}, 0
for i, head in ipairs(heads) do
    local at = FIRST + (i - 1) * FIELDS
    if not head then
        outcomes[i] = 'gone'
    elseif guard_of(head) == ARGV[at + 1] then
        outcomes[i] = 'done'
        fit = fit + 1
    else
        -- An earlier try of this very commit is on the trail.
        local _, _, trail = rest_of(head)
        outcomes[i] = find(trail, ARGV[at + 3], 1, true) and 'known' or 'conflict'
    end
end
if fit == 0 then return outcomes end
if fit < #members then
    for i, outcome in ipairs(outcomes) do
        if outcome == 'done' then outcomes[i] = 'again' end
    end
    return outcomes
end

local new_heads, records = {}, {}
local settled, settlements = nil, 0
for i, member in ipairs(members) do
    local at, head = FIRST + (i - 1) * FIELDS, heads[i]
    local place, _, trail = rest_of(head)
    local status, number, settlement = status_of(head), number_of(head), settlement_of(head)
    local new, mark = ARGV[at + 2], ARGV[at + 3]
    local new_status, new_place = status_of(new), sub(new, 49)
    if byte(new_place) ~= SETTLED_AT then
        settlement = NO_SETTLEMENT
    elseif settlement == NO_SETTLEMENT then
        settled = settled or tonumber(call('HGET', TOTALS, 'settled') or 0)
        settlements = settlements + 1
        settlement = fourteen(settled + settlements)
    end
    if new_place ~= place then
        -- A lease that is renewed only moves.
        if byte(place) ~= LEASED or byte(new_place) ~= LEASED then leave(member, number, place) end
        enter(member, number, new_place, settlement)
    end
    if new_status ~= status then
        tally(member, status, -1)
        tally(member, new_status, 1)
        if status == 'f' then remove(FAILED, member) end
        if new_status == 'f' then add(FAILED, number, member) end
    end
    local to = 2 * i
    new_heads[to - 1] = member
    new_heads[to] = new_status .. number .. settlement .. sub(new, 2) .. '\n\n' .. mark .. sub(trail, 1, 7 * #mark)
    records[to - 1], records[to] = member, ARGV[at + 4]
end
call('HSET', HEADS, unpack(new_heads))
call('HSET', RECORDS, unpack(records))
flush()
count(ARGV[1], 1)
if settlements > 0 then call('HINCRBY', TOTALS, 'settled', settlements) end
tell(ARGV[2])
return outcomes
