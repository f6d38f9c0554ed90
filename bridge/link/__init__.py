"""What the path can carry, and which transport suits it. Pure: events and `now` come in, estimates and choices go out.

`Estimator.on(event)` listens to what the traffic tells anyway, `Probes` asks where it tells nothing;
`Chooser.choose(now, estimator.estimate(now))` says which profile to use. What a profile costs on an estimate is
`predict`, what is best is `utility`.
"""

from bridge.link.choose import Chooser, Decision
from bridge.link.estimate import Estimate, Leg
from bridge.link.estimator import Estimator
from bridge.link.predict import Prediction, Predictor
from bridge.link.probes import Probes
from bridge.link.profiles import Encoding, Limits, Profile, Stream, enumerate_profiles
from bridge.link.traffic import Traffic, traffic
from bridge.link.utility import utility

__all__ = [
    "Chooser",
    "Decision",
    "Encoding",
    "Estimate",
    "Estimator",
    "Leg",
    "Limits",
    "Prediction",
    "Predictor",
    "Probes",
    "Profile",
    "Stream",
    "Traffic",
    "enumerate_profiles",
    "traffic",
    "utility",
]
