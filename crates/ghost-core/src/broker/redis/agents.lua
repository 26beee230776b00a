-- The agents that are alive, each as it described itself. ARGV: time held.
local AT_ONCE = 1000
local alive = call('ZRANGEBYSCORE', AGENTS_UNTIL, '(' .. time(ARGV[1]), '+inf')
local agents = {}
for from = 1, #alive, AT_ONCE do
    local some = call('HMGET', AGENTS, unpack(alive, from, math.min(from + AT_ONCE - 1, #alive)))
    for _, agent in ipairs(some) do agents[#agents + 1] = agent end
end
return agents
