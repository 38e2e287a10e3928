"""Answers docker/test.sh about the captions in a file, one JSON object a line: exit code 0 is yes."""

import datetime
import json
import sys

LAST = 2


def read(path):
    """Start, statuses and number of last words of each window."""
    windows = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                break  # Half a line: the rest is on its way.
            caption = json.loads(line)
            window = windows.setdefault(caption["id"], {"start": start(caption["start"]), "said": [], "last": 0})
            window["said"].append(caption["status"])
            window["last"] += caption["revision"] == LAST
            # Kept on the edge: nothing more will come.
            window["settled"] = window.get("settled", False) or window["last"] > 0 or caption.get("final", False)
    return windows


def start(text):
    """Seconds since 1970 of a time with up to nine digits after the point."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + float(f"0.{rest or 0}")


def main():
    path, question, *numbers = sys.argv[1:]
    windows = read(path)
    twice = [name for name, window in windows.items() if window["last"] > 1]
    if twice:
        sys.exit(f"two last words: {twice}")
    done = sum(window["settled"] for window in windows.values())
    open_ = [name for name, window in windows.items() if not window["settled"]]
    if question == "count":
        print(done)
    elif question == "last":
        sys.exit(done < int(numbers[0]))
    elif question == "settled":
        sys.exit(len(open_) > 0)
    elif question == "between":
        since, until = map(float, numbers)
        meanwhile = [window for window in windows.values() if since <= window["start"] <= until]
        sys.exit(len(meanwhile) < 3 or not all(window["settled"] for window in meanwhile))
    else:
        count = {"confirmed": 0, "corrected": 0}
        for window in windows.values():
            for status in count.keys() & set(window["said"]):
                count[status] += 1
        kept = len(windows) - sum(count.values())
        print(f"{len(windows)} windows: {count['confirmed']} confirmed, {count['corrected']} corrected, {kept} kept on the edge; each has one last word")


main()
