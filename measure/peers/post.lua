-- wrk writes one key: the argument is the length of the value, an object.
function init(arguments)
  wrk.method = "POST"
  wrk.path = "/data"
  wrk.headers["Content-Type"] = "application/json"
  local text = string.rep("x", tonumber(arguments[1]) - #'{"data":""}')
  wrk.body = '{"key":"item-00000000","value":{"data":"' .. text .. '"}}'
end
