"""`python -m edge_wz` is `edge-wz`."""

from edge_wz.cli.main import main

main()
