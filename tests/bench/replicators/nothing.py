"""The database as it is: what the others are compared with."""


class Nothing:
    name = "uncaptured"
    more_clusters = ()

    def __init__(self, rig):
        self.rig = rig

    def attach(self):
        pass

    def start(self):
        pass

    def stop(self):
        pass

    def detach(self):
        pass

    def processes(self):
        return {}
