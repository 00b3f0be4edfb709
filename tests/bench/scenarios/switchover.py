NAMES = ()


def run(rig, report):
    pass
