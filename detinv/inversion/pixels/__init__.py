"""Images under optimisation: parametrisations, blur, random views."""
