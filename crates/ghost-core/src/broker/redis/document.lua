-- Writes a document over its version before this one. ARGV: name, version, content. Returns 1 where it is written, now or by
-- an earlier try.
local held = call('HGET', DOCUMENTS, ARGV[1])
local new = ARGV[2] .. '\n' .. ARGV[3]
if held == new then return 1 end
local version = held and tonumber(sub(held, 1, find(held, '\n', 1, true) - 1)) or 0
if version + 1 ~= tonumber(ARGV[2]) then return 0 end
call('HSET', DOCUMENTS, ARGV[1], new)
return 1
