"""FastestDet: one head at stride 16, whose cells report objects centred within a cell of them."""
