-- One page of an index, newest first: how many members it held, then those in the status that is asked for, if one is.
-- ARGV: batch or none, status or none, offset, how many.
local index = ALL
if ARGV[1] ~= '' then index = BATCH .. ARGV[1] elseif ARGV[2] == 'f' then index = FAILED end
local members = call('ZREVRANGE', index, ARGV[3], ARGV[3] + ARGV[4] - 1)
local page = { #members }
if #members == 0 then return page end
local heads = ARGV[2] ~= '' and call('HMGET', HEADS, unpack(members))
for i, member in ipairs(members) do
    if not heads or (heads[i] and status_of(heads[i]) == ARGV[2]) then page[#page + 1] = member end
end
return page
