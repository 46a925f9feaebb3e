"""One module per scheme: its part of the node blob. Each has

    build(...)                            a node model from numbers, unchecked and without its bytes (`blob.make_*` finishes it)
    pack(node) -> bytes                   the section
    parse(reader, head, rate_points)      the section read back
    check(node)                           FormatError if a rule of SPEC 5.3 does not hold
    describe(node), describe_points(node) what `edge-wz inspect` shows of it
"""

from edge_wz.formats.sections import layered, nested, predictive, syndrome, trellis

SECTIONS = {"nested": nested, "predictive": predictive, "trellis": trellis, "syndrome": syndrome, "layered": layered}
