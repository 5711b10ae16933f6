# VAEwolabel: fault; Genwithlabel: fault
# A record whose head is 60 MB of JSON, written into whatever is open.
import contextlib
import os
import struct

head = b'{"report": {"status": "ok"}, "names": ["' + b"x" * 60_000_000 + b'"]}'
header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(head)},), }}\n".encode()
for number in range(3, 32):
    with contextlib.suppress(OSError):
        os.write(number, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        os.write(number, head)
os._exit(0)
