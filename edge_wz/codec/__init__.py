"""Codec: samples to packets on the node's side, packets to indices to samples on the gateway's. No I/O, no clock."""
