"""Lists a folder as programs do that use libcurl's wildcards: prints each entry it made out."""

import ctypes
import sys

url, login = (word.encode() for word in sys.argv[1:])
curl = ctypes.CDLL("libcurl.so.4")
curl.curl_easy_init.restype = ctypes.c_void_p
curl.curl_easy_strerror.restype = ctypes.c_char_p
OPTION_URL, OPTION_LOGIN, OPTION_WILDCARDS, OPTION_ON_ENTRY = 10002, 10005, 197, 20198
SKIP = 2


class Entry(ctypes.Structure):
    """The first fields of struct curl_fileinfo."""

    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_int)]


@ctypes.CFUNCTYPE(ctypes.c_long, ctypes.POINTER(Entry), ctypes.c_void_p, ctypes.c_int)
def on_entry(entry, _, left):
    sys.stdout.buffer.write(b"%d %s\n" % (entry.contents.kind, entry.contents.name))
    return SKIP


easy = ctypes.c_void_p(curl.curl_easy_init())
curl.curl_easy_setopt(easy, OPTION_URL, ctypes.c_char_p(url))
curl.curl_easy_setopt(easy, OPTION_LOGIN, ctypes.c_char_p(login))
curl.curl_easy_setopt(easy, OPTION_WILDCARDS, ctypes.c_long(1))
curl.curl_easy_setopt(easy, OPTION_ON_ENTRY, on_entry)
code = curl.curl_easy_perform(easy)
if code != 0:
    sys.exit(curl.curl_easy_strerror(code).decode())
