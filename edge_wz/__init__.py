"""edge_wz: Wyner-Ziv coding for battery-powered sensor networks."""
