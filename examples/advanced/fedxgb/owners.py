"""The households' columns, dealt to three owners."""

from data import load_all

from flare_xgb import DataLoader

OWNERS = {
    "site-1": ["education", "race", "hispanic", "kidslt6", "kids618", "region"],  # and the labels
    "site-2": ["whrswk", "experience", "husby"],
    "site-3": ["hhi", "hhi2"],
}


class Own(DataLoader):
    """The columns of one owner, of the households to train on and of those to validate with."""

    def load_data(self):
        rows, is_test = load_all()
        own = rows[OWNERS[self.client_id] + (["label"] if self.client_id == "site-1" else [])]
        return own[~is_test], own[is_test]
