"""noclock.py COMMAND...: run a command whose calls to set the clock succeed without effect.

For ntpd-rs, which as a client insists on control of the clock. Needs no rights; the command gains none either.
"""

import ctypes
import os
import platform
import struct
import sys

# The architecture of the kernel's audit, and its numbers of adjtimex, settimeofday, clock_settime, clock_adjtime.
AUDIT_ARCH, CALLS = {
    "x86_64": (0xC000003E, (159, 164, 227, 305)),
    "aarch64": (0xC00000B7, (171, 170, 112, 266)),
}[platform.machine()]
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL_PROCESS, SUCCEED = 0x7FFF0000, 0x80000000, 0x00050000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2

# Instructions of classic BPF over struct seccomp_data: number of the call at 0, architecture at 4 (seccomp(2)).
program = [(LOAD, 0, 0, 4), (JUMP_IF_EQUAL, 1, 0, AUDIT_ARCH), (RETURN, 0, 0, KILL_PROCESS), (LOAD, 0, 0, 0)]
program += [(JUMP_IF_EQUAL, len(CALLS) - index, 0, call) for index, call in enumerate(CALLS)]
program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, SUCCEED)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
sock_fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))

libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, sock_fprog, 0, 0):
    sys.exit(f"noclock: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
