"""The files of the web page: what `gateway/page.py` serves, as it stands here."""
