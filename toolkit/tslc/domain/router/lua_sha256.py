"""SHA-256 (FIPS 180-4) for Envoy's LuaJIT, which has no hash of its own that scripts may use.

Sums stay below 2^53, where doubles are exact; `bit.tobit` takes them modulo 2^32.
"""

from __future__ import annotations

import math
from itertools import count, islice


def _primes(number: int) -> list[int]:
    found = (n for n in count(2) if all(n % d for d in range(2, math.isqrt(n) + 1)))
    return list(islice(found, number))


def _fraction(root: int, power: int) -> int:
    """The first 32 bits of the fractional part of the `power`-th root of `root`."""
    scaled = root << (32 * power)
    low, high = 0, 1 << 64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= scaled else (low, middle)
    return low & 0xFFFFFFFF


def _table(numbers: list[int]) -> str:
    return "{" + ", ".join(f"0x{number:08x}" for number in numbers) + "}"


_ROUNDS = _table([_fraction(prime, 3) for prime in _primes(64)])
_START = _table([_fraction(prime, 2) for prime in _primes(8)])

SHA256 = f"""\
local bit = require("bit")
local band, bor, bxor, bnot = bit.band, bit.bor, bit.bxor, bit.bnot
local lshift, rshift, ror, tobit = bit.lshift, bit.rshift, bit.ror, bit.tobit
local byte, char, floor = string.byte, string.char, math.floor
local ROUNDS = {_ROUNDS}
local START = {_START}

local function word(number)
  return char(floor(number / 16777216) % 256, floor(number / 65536) % 256,
    floor(number / 256) % 256, number % 256)
end

local function block(text, offset, hash, w)
  for i = 0, 15 do
    local a, b, c, d = byte(text, offset + i * 4, offset + i * 4 + 3)
    w[i] = bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
  end
  for i = 16, 63 do
    local x, y = w[i - 15], w[i - 2]
    local s0 = bxor(ror(x, 7), ror(x, 18), rshift(x, 3))
    local s1 = bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    w[i] = tobit(w[i - 16] + s0 + w[i - 7] + s1)
  end
  local a, b, c, d = hash[1], hash[2], hash[3], hash[4]
  local e, f, g, h = hash[5], hash[6], hash[7], hash[8]
  for i = 0, 63 do
    local s1 = bxor(ror(e, 6), ror(e, 11), ror(e, 25))
    local choice = bxor(band(e, f), band(bnot(e), g))
    local t1 = tobit(h + s1 + choice + ROUNDS[i + 1] + w[i])
    local s0 = bxor(ror(a, 2), ror(a, 13), ror(a, 22))
    local majority = bxor(band(a, b), band(a, c), band(b, c))
    h, g, f, e = g, f, e, tobit(d + t1)
    d, c, b, a = c, b, a, tobit(t1 + s0 + majority)
  end
  local now = {{a, b, c, d, e, f, g, h}}
  for i = 1, 8 do hash[i] = tobit(hash[i] + now[i]) end
end

local function sha256(text)
  local length = #text
  local padded = text .. "\\128" .. string.rep("\\0", (55 - length) % 64)
    .. word(floor(length / 536870912)) .. word(length * 8 % 4294967296)
  local hash, w = {{}}, {{}}
  for i = 1, 8 do hash[i] = tobit(START[i]) end
  for offset = 1, #padded, 64 do block(padded, offset, hash, w) end
  local hex = {{}}
  for i = 1, 8 do hex[i] = bit.tohex(hash[i]) end
  return table.concat(hex)
end
"""
