-- When the task was queued that has waited longest, or nothing. What OLDEST says of a queue may be the time of a task that
-- was handed out meanwhile, so whichever seems oldest is looked at.
local CORRECTIONS = 256
local oldest = call('ZRANGE', POSTPONED, 0, 0, 'WITHSCORES')[2]
for i = 1, CORRECTIONS do
    local seems = call('ZRANGE', OLDEST, 0, 0, 'WITHSCORES')
    local queue, since = seems[1], seems[2]
    if not queue or (oldest and tonumber(since) >= tonumber(oldest)) then break end
    local first = call('ZRANGE', QUEUE .. queue, 0, 0, 'WITHSCORES')[2]
    if first == since or i == CORRECTIONS then
        oldest = since
        break
    end
    call('ZADD', OLDEST, first, queue)
end
return oldest and tonumber(oldest)
