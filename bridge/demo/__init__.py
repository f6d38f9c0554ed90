"""The main job on recorded people whom the models never saw, end to end: `make demo`.

Real processes only: the bridge on its embedded broker, a cloud agent, and nine devices that replay held-out recordings
at once: three each as plain paho 3.1.1 and as the edge agent on MQTT 5, two as the edge agent on CoAP, and one with
both over a link that goes good, lossy, thin, gone and good again (`relay`), so that the link decides. An independent
subscriber counts what comes out.
"""
