"""The one data set."""

from pathlib import Path


class Points:
    def __init__(self, root, train, download, transform):
        if train or not download:
            raise ValueError("the test part must be downloaded")
        Path(root).mkdir(exist_ok=True)
        self.values = [-3.0, -2.0, -1.0, 1.0]
        self.transform = transform

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.transform([self.values[index]]), int(self.values[index] > 0)
