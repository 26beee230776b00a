-- Says that an agent is alive, and forgets some that are not. ARGV: time held, agent, what it says of itself, lease.
local now = time(ARGV[1])
call('HSET', AGENTS, ARGV[2], ARGV[3])
call('ZADD', AGENTS_UNTIL, now + ARGV[4], ARGV[2])
local silent = call('ZRANGEBYSCORE', AGENTS_UNTIL, '-inf', now, 'LIMIT', 0, 16)
if #silent > 0 then
    call('HDEL', AGENTS, unpack(silent))
    call('ZREM', AGENTS_UNTIL, unpack(silent))
end
