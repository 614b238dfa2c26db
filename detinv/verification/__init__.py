"""Claims about the experiments, checked where the truth is known: on detectors with planted priors."""
