# The lab on a CPU, in two images of the same layers (docs/places.md says how they are used and what was tried):
#
#     docker build --tag vae-lab .                          # runs make demo
#     docker build --target grade --tag vae-lab-grade .     # python -m ta grade
#
# pip takes the tested versions. Its settings can be given, such as PyTorch's index of CPU packages (without CUDA):
#     --build-arg PIP_EXTRA_INDEX_URL=...
FROM docker.io/library/debian:12.15-slim AS lab

# bubblewrap works only where the container is allowed user namespaces; else class grading takes Landlock.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap libseccomp2 make python3 python3-venv tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 lab \
    && install --directory --owner lab /lab

USER lab
WORKDIR /lab
ENV PATH=/lab/.venv/bin:$PATH
ARG PIP_EXTRA_INDEX_URL
COPY requirements.txt requirements-ta.txt constraints.txt ./
RUN python3 -m venv .venv && pip install --no-cache-dir -r requirements-ta.txt -c constraints.txt
COPY --chown=lab . .
RUN touch .venv/ready  # for make: installed, and newer than the files above


FROM lab AS grade
# Not process 1: in a sandbox that is the worker, and the probe would take it for the grader.
ENTRYPOINT ["tini", "--", "python", "-m", "ta", "grade"]
CMD ["--help"]


FROM lab AS demo
CMD ["make", "demo"]
