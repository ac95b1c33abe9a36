# The image: Python, the packages of requirements/run.txt by their hashes, and Penstock. Nothing is compiled at run time.
#   docker build -t penstock:0.1.0 .

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN ["python", "-m", "venv", "/opt/penstock"]
COPY requirements/run.txt requirements/run.txt
RUN ["/opt/penstock/bin/python", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "--requirement", "requirements/run.txt"]
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY prices prices
RUN ["/opt/penstock/bin/python", "-m", "pip", "install", "--no-deps", "--no-build-isolation", "."]
# What was needed to build is not needed to run.
RUN ["/opt/penstock/bin/python", "-m", "pip", "uninstall", "--yes", "hatchling", "editables", "pip", "setuptools"]
RUN ["python", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/opt/penstock/lib"]

FROM python:3.11-slim-bookworm
RUN ["install", "--directory", "--owner=10001", "--group=10001", "--mode=0700", "/var/lib/penstock"]
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Numeric, so that Kubernetes can see that it is not root. No home, no shell needed, nothing written outside the volume.
USER 10001:10001
WORKDIR /var/lib/penstock
VOLUME /var/lib/penstock
EXPOSE 8787 8788
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "penstock.cli.alive"]
ENTRYPOINT ["penstock"]
CMD ["serve"]
