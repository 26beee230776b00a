-- When the task was queued that has waited longest, or nothing. Whichever queue seems to have it is looked at.
local CORRECTIONS = 256
local oldest = call('ZRANGE', POSTPONED, 0, 0, 'WITHSCORES')[2]
for i = 1, CORRECTIONS do
    local seems = call('ZRANGE', OLDEST, 0, 0, 'WITHSCORES')
    local queue, since = seems[1], seems[2]
    if not queue or (oldest and tonumber(since) >= tonumber(oldest)) then break end
    if first_of(queue) == since or i == CORRECTIONS then
        oldest = since
        break
    end
end
return oldest and tonumber(oldest)
