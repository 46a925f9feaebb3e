"""Where decoded samples go. The store (`sqlite`) is always there; others follow its transactions."""

from edge_wz.gateway.events import SamplesDecoded, SamplesRevised

Samples = SamplesDecoded | SamplesRevised
