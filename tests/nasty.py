"""Lines that a JSON parser must refuse, and lines that it must take though they look odd; each without its line end."""

from itertools import product

DEEP = 10_000  # levels: far beyond what any request needs
_MESSAGE = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'

_WORDS = (
    rb"hello undefined None True False NULL yes nan inf NaN -NaN Infinity -Infinity +Infinity truE nullx falsee".split()
)
_WORDS += [word[:end] for word in (b"true", b"false", b"null") for end in range(1, len(word))]
_WORDS += [b"GET / HTTP/1.1", b"a b", b"true\x00", b"nul l"]

_NUMBERS = rb"""
    01 -01 00 012 -012 1. -1. .5 -.5 1.e3 0.e1 +1 +0 ++1 --1 - + . 1e 1E 1e+ 1e- 0e 0e+ 1.5e 1.5e+ 1ee2 1e2.5 1e1e1 e1
    1+2 1-2 1.2.3 1..2 0x1 0x 0xFF 0b1 0o7 1_000 1a -a 1f 1L 1/2 1e400 -1e400
""".split()
_NUMBERS += [b"- 1", b"1 000", b"1 e2", b"9" * 400, "1１".encode()]  # the last ends in a digit, but not of ASCII

# What may stand between two quotes, but not in JSON: escapes, halves of surrogate pairs, control characters, bad UTF-8.
_INSIDES = [b"\\" + bytes([sign]) for sign in b"acdeghijklmopqsvwxyzABU019'`()[]{}.,:; -_\t\x00"]
_INSIDES += [*rb"\u \u0 \u00 \u004 \u00g0 \u{41} \U0041 \x41 \u-041 \ud83d\u \ud83d\ude0".split(), rb"\u 041"]
_INSIDES += rb"\ud800 \udbff \udc00 \udfff \ud800x \ud800\n \ud800\u0041 \ud800\ud800 \udc00\ud800".split()
_INSIDES += [bytes([sign]) for sign in range(0x20) if sign != 0x0A]
_INSIDES += [
    bytes.fromhex(octets)
    for octets in "ff fe 80 bf c080 c1bf c3 c328 e282 e080af eda080 edbfbf f09f98 f4908080 f5808080 f888808080".split()
]

_UNCLOSED = rb"""
    [ { [[ [{ {"a" {"a": {"a":1 {"a":1, [1 [1, ["a" ["a", {"a":[1 {"a":{ {"a":{"b":1} [[], [{}, {"a":"b" [true [null,
    {"jsonrpc":"2.0","id":1,"method":"ping" [{"jsonrpc":"2.0","id":1,"method":"ping"}
""".split()
_UNCLOSED += [b"[" * 100, b'{"a":' * 100, b"[" * DEEP, b'[{"a":' * DEEP]

_OPEN_STRINGS = rb""" " "a "\ "\" "a\" ["a [" {"a {" {"a":"b {"a":"b} "\u0041 "a' ["a","b} {"a":1,"b """.split()

_PUNCTUATION = rb"""
    , : ] } ,, :: * & @ $ ! \ ( \u0031 'a' `a` ['a'] (1) <null> [<null>] [...] [1,...] {}}
    [,] [,1] [1,] [1,,2] [1,,] [, [1:2] ["a",,] ["a"]] []] [1]] [} [1} [{]} {[}] [[1} [,"a"] ["a""b"] [1"a"] [[][]]
    {] {,} {"a"} {"a",1} {"a":} {"a":,} {:1} {"a":1,} {"a":1,,} {,"a":1} {"a"1} {"a"::1} {"a":1:2} {"a":1] {"a":1}}
    {"a":1"b":2} {"a":1;"b":2} {"a":1,"b"} {"a":1,"b":} {"a":1,2} {"a","b"} {"a"=1} {"a"=>1} {"id":1,"id"} {a:1} {'a':1}
    {"a":'b'} {1:2} {null:1} {[]:1} {{}:1} {true:1} {"session_id":,"a":1} {"jsonrpc":"2.0","id":1,"method":}
""".split()

_COMMENTS = [b"// a", b"/* a */", b"# a", b"-- a", b"<!-- a -->", b"[1] // a", b"[1] # a", b"[1 /* a */]", b"[1,// a"]
_COMMENTS += [b'{"a":/* b */1}', b'{"a":1}/**/', b'{"a":1}//', b'{"a":1}/', b'/* a */{"a":1}', b'{"a":1 # b']

# Each is white space somewhere, or nothing to see; none of them is in JSON.
_BLANKS = [sign.encode() for sign in "\f\v\x00\x1b\x7f\x85\xa0\u2028\u2060\ufeff"] + [b"\xa0"]

_AFTER = [b" x", b"x", b",", b"]", b"}", b":", b"\x00", b" 1", b' "a"', b"{}", b"[]", b"\\", b"#", b";"]

_STRINGS = rb"\u0000 \ud83d\ude00 \\ \" \/ / \b\f\n\r\t \u0041 \uABCD\uabcd {[}] // \\\\\\\\ null".split()
_STRINGS += [sign.encode() for sign in ("", "😀", "\x7f", "\xa0", "\u2028", "\uffff", "\ufeff", "x" * 5000)]
_VALUES = rb"""
    -0 0e0 0E+1 1e-400 -0.0 1E22 123456789012345678901234567890 18446744073709551615 -9223372036854775808
    9007199254740993 1.7976931348623157e308 0 true null "a" [] {} {"a":1,"a":2} {"":{"":[]}} [[],{},[[]],[{}]]
    {"id":null,"method":1} {"__proto__":{"a":1}} [{"jsonrpc":"2.0"},1,null]
""".split()
_VALUES += [
    b" \t[ 1 ,\t2\r] \r",
    b'{"a":1\r,"b":2}',
    b"[" * 500 + b"]" * 500,
    b"[" + b"0," * 2000 + b"0]",
    b"0." + b"1" * 500,
]


def bad_lines() -> list[bytes]:
    """Over 400 lines that no parser should take: bad syntax, bad UTF-8, nested too deep, a number too big. None is blank.

    Some are unclosed: a server may wait a moment for the rest of a document before it answers.
    """
    lines = [*_WORDS, *_NUMBERS, *_UNCLOSED, *_OPEN_STRINGS, *_PUNCTUATION, *_COMMENTS]
    lines += [b"[%b]" % number for number in _NUMBERS] + [b'{"a":%b}' % word for word in _WORDS]
    lines += [b'["%b"]' % inside for inside in _INSIDES] + [b'{"%b":1}' % inside for inside in _INSIDES[::7]]
    lines += [blank + b'{"a":1}' for blank in _BLANKS] + [b"[1,%b2]" % blank for blank in _BLANKS]
    lines += [value + after for value, after in product((_MESSAGE, b"[1]", b'"a"'), _AFTER)]
    lines += [b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP]
    lines += ['{"a":1}'.encode(name) for name in ("utf-16", "utf-16-le", "utf-32-be")] + [b"\xff\xfe", b"\x00" * 64]
    lines += [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x89PNG\r", b"\x1f\x8b\x08\x00"]  # TLS, an image, gzip
    return list(dict.fromkeys(lines))


def odd_lines() -> list[bytes]:
    """Lines that are JSON, however odd: each is one whole value."""
    strings = [b'"%b"' % string for string in _STRINGS] + [b'{"%b":"%b"}' % (string, string) for string in _STRINGS]
    return [_MESSAGE, *_VALUES, *(b"[%b]" % value for value in _VALUES), *strings]
