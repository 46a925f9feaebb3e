"""What a kernel says about one payload. 0 is good, negative is malformed; the numbers are shared with the C runtime.

These are verdicts about bytes, not errors: nothing is raised, the caller counts them. `formats.packet.PacketStatus`
is about whole packets and never looks into a payload.
"""

STATUS_OK = 0
STATUS_TRUNCATED = -1  # the payload ends before its last sample
STATUS_TRAILING = -2  # bytes are left over after the last sample
STATUS_PADDING = -3  # the fill of the last byte is not zero
STATUS_CODE = -4  # the range decoder starts outside of its range
STATUS_NO_SPACE = -5  # the caller's output is too small; nothing was written past its end
STATUS_COUNT = -6  # more sample slots than a packet has
