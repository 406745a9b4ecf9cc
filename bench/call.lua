-- One tools/call with all its headers, over and over.
-- Arguments after "--": the tool's name, the bearer token, the protocol revision, and a Lua pattern that the body of a
-- right answer contains. With it every answer is read and held to it; without, wrk counts statuses and bytes only, and
-- leaves the caches it shares with the server alone.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local function check(status, headers, body)
  if status ~= 200 or not body:find(expected) then
    wrong = wrong + 1
    first_wrong = status .. " " .. body:sub(1, 300)
  end
end

function init(args)
  local tool, token, revision = args[1], args[2], args[3]
  local modern = revision >= "2026"
  expected = args[4]
  wrong = 0
  first_wrong = ""
  if expected then response = check end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json, text/event-stream"
  wrk.headers["MCP-Protocol-Version"] = revision
  wrk.headers["Authorization"] = "Bearer " .. token
  local meta = ""
  if modern then
    wrk.headers["Mcp-Method"] = "tools/call"
    wrk.headers["Mcp-Name"] = tool
    meta = ',"_meta":{"io.modelcontextprotocol/protocolVersion":"' .. revision .. '",'
      .. '"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},'
      .. '"io.modelcontextprotocol/clientCapabilities":{}}'
  end
  wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"' .. tool .. '","arguments":{"a":2,"b":3}'
    .. meta .. '}}'
end

function done(summary, latency, requests)
  local bad, sample = summary.errors.status, ""
  for _, thread in ipairs(threads) do
    bad = bad + thread:get("wrong")
    if thread:get("first_wrong") ~= "" then sample = thread:get("first_wrong") end
  end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes, bad, errors,
    latency:percentile(50), latency:percentile(99)))
  io.write("SAMPLE " .. sample:gsub("\n", " ") .. "\n")
end
