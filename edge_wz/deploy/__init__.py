"""Models onto devices: over a serial port, or through the daemon that owns it (SPEC 12).

    link       a byte path: port, TCP, or one lent by the daemon
    wire       what comes over it, sorted: answers, packets, and the rest to be described
    smp        requests and answers; the only module that imports smpclient, and that only when used
    device     what a node can be asked
    costs      what a model takes of a node, from recorded measurements
    proof      whether what a node sends is what its model says
    procedure  upload, trial, proof, confirm or revert
"""
