"""The one thing pyproject.toml cannot say: a C extension that may fail to build."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Without a compiler the installation succeeds and the pure-Python encoder is used.
        Extension(
            "imgpkg.content.deflate._deflate",
            ["src/imgpkg/content/deflate/_deflate.c"],
            extra_compile_args=["-O3", "-std=c99"],
            optional=True,
        ),
    ],
)
