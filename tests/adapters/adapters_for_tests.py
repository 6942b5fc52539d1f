"""Implementations that misbehave, for the tests of conformance's worker and runner."""

import dataclasses
import os
import time

from lstm_oracle.conformance import textbook


class _Adapter:
    def unsupported(self, case):
        return ""

    def run(self, case):
        return textbook.run(case)

    def versions(self):
        return {"textbook": "1.0"}


class _Crashing(_Adapter):
    def run(self, case):
        if case.name.startswith("plain, weights x4"):
            os.abort()
        return super().run(case)


class _Raising(_Adapter):
    def run(self, case):
        raise RuntimeError("no\n  luck")


class _Hanging(_Adapter):
    def run(self, case):
        time.sleep(3600)


class _Talking(_Adapter):
    def run(self, case):
        print("a framework's banner")
        os.system("echo a banner of a child of it")
        return super().run(case)


class _Wrong(_Adapter):
    def run(self, case):
        result = super().run(case)
        d_params = result.d_params
        if "U_f" in d_params:
            d_params = d_params | {"U_f": d_params["U_f"] * 1.5}
        return dataclasses.replace(result, d_params=d_params)


def right():
    return _Adapter()


def crashing():
    return _Crashing()


def raising():
    return _Raising()


def hanging():
    return _Hanging()


def talking():
    return _Talking()


def wrong():
    return _Wrong()


def breaking():
    raise ImportError("libframework.so.7: cannot open shared object file")
