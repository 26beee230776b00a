-- Records as they stand. ARGV: members.
return read(ARGV, {})
