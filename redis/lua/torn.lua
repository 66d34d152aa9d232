-- Put behind every script that writes. What a script has written before an error
-- stays written, so that the indexes may say something else than the records: nobody
-- writes more until they are mended. out is the error.
local text = type(out) == 'table' and out.err or tostring(out)
text = string.gsub(string.gsub(text, '^@?user_script:%s*%d+:%s*', ''), '^%-', '')
-- With these the first write is refused already, and nothing is torn.
local whole = {OOM = 1, READONLY = 1, NOREPLICAS = 1, MISCONF = 1, MASTERDOWN = 1, CLUSTERDOWN = 1, BUSY = 1, LOADING = 1}
if not whole[string.match(text, '^%u+') or ''] and not string.find(text, 'Script killed', 1, true) then
  redis.pcall('HSET', META, 'torn', '1')
  redis.pcall('HDEL', LANES, '*')
end
return {err = text}
