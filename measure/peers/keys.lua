-- wrk reads many keys: the first argument is a file of key numbers with eight digits each, the second the number
-- of the first one that is used.
local numbers
local at

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  numbers = file:read("*a")
  file:close()
  at = tonumber(arguments[2]) * 8 + 1
end

function request()
  local number = numbers:sub(at, at + 7)
  at = at + 8
  if at > #numbers then
    at = 1
  end
  return "GET /data/item-" .. number .. " HTTP/1.1\r\nHost: bench\r\n\r\n"
end
