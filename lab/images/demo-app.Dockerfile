# The voting app's four programs: python -m demo_app.NAME. Built without a network: the wheels are in the context.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
COPY wheels /wheels
RUN python -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target /app /wheels/*.whl
COPY demo_app /app/demo_app
# Compiled here, as the root file system is read-only when it runs; by content, so that two builds are alike.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
CMD ["python", "-m", "demo_app"]
