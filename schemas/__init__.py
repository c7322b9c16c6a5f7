"""The records that travel, the reasons for rejection, and the rewards. Imports nothing of ours."""
