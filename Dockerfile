# GEARnn on the CPU: trains, judges, exports, predicts. Built as: docker build -t gearnn .
# Not built where it was written, for want of Docker.
# Used as: docker run --rm -v "$PWD:/data" gearnn run --data photos/ --arch mobilenet_v1 --preset quick --out runs/photos
FROM python:3.11-slim

WORKDIR /opt/gearnn
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY gearnn gearnn
COPY engine engine
COPY kernels kernels
# PyTorch's own CPU build: PyPI's brings CUDA along.
RUN pip install --no-cache-dir 'torch>=2.0' --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir '.[train,report]'

RUN useradd --create-home --uid 1000 gearnn && mkdir /data && chown gearnn /data
USER gearnn
WORKDIR /data
ENTRYPOINT ["gearnn"]
CMD ["--help"]
