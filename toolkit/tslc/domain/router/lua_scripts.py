"""The two scripts Envoy runs for each request: one before it asks for a key, one before it routes.

Should a script fail, Envoy goes on without it, and everything fails closed: no hash of a key is no
key, no name of a user is a random draw.
"""

from __future__ import annotations

from tslc.domain.router.lua_sha256 import SHA256
from tslc.domain.router.names import (
    KEY_HEADER,
    METADATA,
    MODEL_HEADER,
    OWN_HEADER,
    STAGE,
    STAGE_KEY,
    STAGE_ROUTE,
    USER_HEADER,
    VERSION_HEADER,
)

# A key in memory is forgotten when so many others were asked for.
_CACHED = 1024
_LONGEST_KEY = 512
USER_DIGITS = 16

KEY_SCRIPT = f"""\
{SHA256}
local known, count = {{}}, 0

local function hashed(key)
  local hash = known[key]
  if hash == nil then
    if count >= {_CACHED} then known, count = {{}}, 0 end
    hash = sha256(key)
    known[key], count = hash, count + 1
  end
  return hash
end

function envoy_on_request(request)
  local headers = request:headers()
  request:streamInfo():dynamicMetadata():set("{METADATA}", "{STAGE}", "{STAGE_KEY}")
  local stated = headers:get("authorization")
  if stated == nil then return end
  headers:remove("authorization")
  if #stated > {_LONGEST_KEY} then return end
  local key = string.match(stated, "^[Bb][Ee][Aa][Rr][Ee][Rr] +([^ ]+) *$")
  if key ~= nil then headers:replace("{KEY_HEADER}", hashed(key)) end
end

function envoy_on_response(response)
  local headers = response:headers()
  local seconds = headers:get("x-ratelimit-reset")
  if seconds ~= nil and headers:get(":status") == "429" then
    headers:replace("retry-after", seconds)
  end
  if headers:get("{OWN_HEADER}") ~= nil then
    for _, name in ipairs({{"{OWN_HEADER}", "{MODEL_HEADER}", "{VERSION_HEADER}"}}) do
      headers:remove(name)
    end
  end
end
"""

# A cookie that is not there is made before the version is chosen, so that the first answer comes
# from the version that answers ever after. It is no secret: it only tells users apart.
USER_SCRIPT = f"""\
{SHA256}
local made = 0

local function cookie_value(headers, name)
  for pair in string.gmatch(headers:get("cookie") or "", "[^;,]+") do
    local key, value = string.match(pair, "^%s*([^=]-)%s*=%s*(.-)%s*$")
    if key == name and value ~= "" then return value end
  end
end

local function fresh(request)
  made = made + 1
  local clock = request:timestamp(EnvoyTimestampResolution.MILLISECOND)
  local id = request:headers():get("x-request-id") or ""
  return string.sub(sha256(id .. "/" .. clock .. "/" .. made .. "/" .. tostring(request)), 1, 32)
end

local function by_cookie(request, name, seen)
  local headers = request:headers()
  local user = cookie_value(headers, name)
  if user == nil then
    user = fresh(request)
    seen:set("{METADATA}", "cookie", name .. "=" .. user .. "; Path=/; HttpOnly; SameSite=Lax")
  end
  headers:replace("{USER_HEADER}", user)
  request:clearRouteCache()
  return user
end

function envoy_on_request(request)
  local context, headers = request:filterContext(), request:headers()
  local seen = request:streamInfo():dynamicMetadata()
  local model, cookie, header = context:get("model"), context:get("cookie"), context:get("header")
  seen:set("{METADATA}", "{STAGE}", "{STAGE_ROUTE}")
  if model ~= nil then seen:set("{METADATA}", "model", model) end
  local user
  if cookie ~= nil then user = by_cookie(request, cookie, seen)
  elseif header ~= nil then user = headers:get(header) end
  if user ~= nil and user ~= "" then
    local hash = sha256(context:get("salt") .. user)
    seen:set("{METADATA}", "user", string.sub(hash, 1, {USER_DIGITS}))
  end
end

function envoy_on_response(response)
  local seen = response:streamInfo():dynamicMetadata():get("{METADATA}")
  if seen ~= nil and seen["cookie"] ~= nil then
    response:headers():add("set-cookie", seen["cookie"])
  end
end
"""
