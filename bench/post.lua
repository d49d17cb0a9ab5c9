-- One POST again and again; body and headers come in the environment. At the end, one line of JSON with the figures.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
for name, value in string.gmatch(os.getenv("BENCH_HEADERS") or "", "([^\n:]+):([^\n]*)\n") do
  wrk.headers[name] = value
end

-- with a file of keys, each request carries the next one
local keys = os.getenv("BENCH_KEYS")
if keys then
  local heads, at = {}, 0
  for key in io.lines(keys) do
    wrk.headers["Authorization"] = "Bearer " .. key
    heads[#heads + 1] = wrk.format()
  end
  function request()
    at = at % #heads + 1
    return heads[at]
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
